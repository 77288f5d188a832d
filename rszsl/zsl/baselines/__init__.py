"""What DSVA and MCFA have to beat on the same features and splits: known methods, and controls that must fail."""
