"""The parts of the suite `failures`, one subject each."""
