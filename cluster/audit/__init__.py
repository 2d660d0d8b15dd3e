"""The audit of private elements: what is in a sample, what the destination made of it, what people decided."""
