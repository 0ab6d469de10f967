"""The parts of the suite `sweeps`, one subject each."""
