"""Files that `torch.save` wrote, opened without running anything in them."""
