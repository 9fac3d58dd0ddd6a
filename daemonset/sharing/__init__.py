"""This agent's part in the cohort exchange (cache/exchange): with whom, what it serves, and how much at once."""
