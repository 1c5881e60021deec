"""What other nodes put on a MODEL inside its network: another attention, replaced blocks, patches of attention."""
