"""Networks as files that other runtimes open: TorchScript, ONNX, `torch.export`; each verified."""
