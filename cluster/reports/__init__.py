"""What a person reads: figures, pure and apart from how they are shown, and the pages that show them."""
