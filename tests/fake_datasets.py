"""The few parts of Hugging Face's `datasets` that neglab calls, for tests without the library.

`tests/data/test_huggingface.py` runs against the library itself too where it is installed.
"""

import json
from pathlib import Path


class ClassLabel:
    def __init__(self, names):
        self.names = names


class Value:
    def __init__(self, dtype):
        self.dtype = dtype


class Image:
    def __init__(self, decode=True):
        self.decode = decode


class Features(dict):
    pass


class DatasetDict(dict):
    def save_to_disk(self, folder):
        for split, rows in self.items():
            rows.save_to_disk(f"{folder}/{split}")
        (Path(folder) / "dataset_dict.json").write_text(json.dumps({"splits": list(self)}))


class Dataset:
    def __init__(self, columns, features, fingerprint):
        self.columns, self.features, self._fingerprint = columns, features, fingerprint
        self.column_names = list(columns)

    @classmethod
    def from_dict(cls, columns, features):
        return cls(columns, features, "made")

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, which):
        if any(isinstance(feature, Image) and feature.decode for feature in self.features.values()):
            raise AssertionError("pictures are decoded by neglab alone")
        return {name: values[which] for name, values in self.columns.items()}

    def with_format(self, kind):
        plain = Dataset(self.columns, self.features, self._fingerprint)
        plain.kind = kind
        return plain

    def select_columns(self, names):
        kept = {name: self.columns[name] for name in names}
        return Dataset(kept, Features({name: self.features[name] for name in names}), f"{self._fingerprint}-selected")

    def cast_column(self, name, feature):
        if not isinstance(self.features[name], Image):
            raise NotImplementedError("Unsupported cast")
        return Dataset(self.columns, Features({**self.features, name: feature}), f"{self._fingerprint}-cast")

    def save_to_disk(self, folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "state.json").write_text("{}")
        SAVED[str(folder)] = self


SAVED = {}


def load_from_disk(folder):
    if (Path(folder) / "dataset_dict.json").is_file():
        return DatasetDict({path.name: SAVED[str(path)] for path in Path(folder).iterdir() if path.is_dir()})
    return SAVED[folder]


def load_dataset(name, subset=None, *, split):
    raise FileNotFoundError(f"Dataset '{name}' doesn't exist on the Hub or cannot be accessed.")
