"""Tests that each check refuses a shipped file with one fault in it."""
