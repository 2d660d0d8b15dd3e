"""DICOMweb (PS3.18) as a client: one service, its credentials, its multipart messages and its answers."""
