"""What pods read: publications, their pins, fixed paths for hostPath, and reading ahead into memory."""
