"""The protocol over gRPC, for installations with the extra `grpc`.

`open_inference.proto` has the messages; `make proto` writes the two modules that are generated of it.
"""
