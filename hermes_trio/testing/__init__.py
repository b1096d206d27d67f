"""The test kit that ships with the product: what our tests use, users' tests can use."""
