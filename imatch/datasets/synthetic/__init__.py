"""Synthetic landscapes and pairs with exact truth."""
