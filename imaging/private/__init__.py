"""Private elements: what is in a dataset, and what is known of it, by creator, group and low byte."""
