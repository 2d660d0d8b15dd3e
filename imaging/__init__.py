"""Pure rules about a DICOM object: no I/O, no clock, no logging; same input, same answer."""
