"""The ten-thousandth page of a list against its first."""
