"""Huge uploads through bad links, byte for byte."""
