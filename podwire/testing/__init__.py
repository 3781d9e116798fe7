"""For our tests and for yours: builders, fakes and the cluster under test."""
