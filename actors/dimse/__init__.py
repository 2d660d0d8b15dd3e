"""DICOM network operations: the receiver, and find, move, store and echo as a service class user."""
