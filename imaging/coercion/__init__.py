"""Planned changes of header values: rules, what they change in one dataset, and the new file."""
