"""Networks we own or adapt, and the checkpoints they run on."""
