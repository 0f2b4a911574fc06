"""The quality report of a registration: residuals, agreement of the images, pictures."""
