"""The node agent: pulls what its NodeCache or its configuration names, and answers the CSI driver."""
