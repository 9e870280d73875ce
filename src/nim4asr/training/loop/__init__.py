"""What all stages share: the loop, its states and logs, optimizer, precision, and how a loss adds up."""
