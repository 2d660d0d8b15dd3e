"""What runs on worker nodes: plain classes first, thin Ray shells around them."""
