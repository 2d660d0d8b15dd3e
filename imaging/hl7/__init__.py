"""HL7 v2 messages about patients, read from files that forty systems wrote, as typed events."""
