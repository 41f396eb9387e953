"""Contracts, simulators and fakes, shipped for whoever adds an implementation of a seam."""
