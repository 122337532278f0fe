"""Whether posed frames and the calibration that is given with them fit each other, and which calibration does."""
