"""What the controller knows of the cluster: copies of its objects, its groups, and each group's plan."""
