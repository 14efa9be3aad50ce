"""Files that others wrote or that must survive a crash: atomic writes, npz, safetensors, .pth."""
