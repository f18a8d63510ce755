"""Archive, restore, purge: what is old goes to where it is cheap, comes back bit for bit, or is removed for ever."""
