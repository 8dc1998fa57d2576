"""Files that would run code if they were unpickled."""

import pickle
from pathlib import Path

import torch


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def pickled_trap(path):
    path.write_bytes(pickle.dumps(Trap(path.parent / "sprung"), 2))


def saved_trap(path):
    torch.save({"weight": Trap(path.parent / "sprung")}, path)
