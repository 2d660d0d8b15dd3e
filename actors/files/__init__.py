"""Archives that are folders: the tree of a vendor's export, with or without DICOMDIR."""
