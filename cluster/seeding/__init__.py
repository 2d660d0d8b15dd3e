"""Physical seeding: what the operator does with devices before they leave, and with answers when they have arrived."""
