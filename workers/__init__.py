"""What the RQ workers run, and the clock that calls them."""
