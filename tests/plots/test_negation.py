from neglab.plots.negation import class_counts, preference_bars


def test_both_pictures_are_drawn_and_equal_data_give_equal_bytes(tmp_path):
    for i in range(2):
        preference_bars({"own": [0.2, 0.5], "others": [0.9, 0.1]}, [0.0, 1.0], "two pairs", tmp_path / f"bars{i}.png")
        class_counts({f"set {k}": ([3, 1, 2], 4) for k in range(4)}, "counts", tmp_path / f"counts{i}.png")
    for name in ("bars", "counts"):
        first, second = ((tmp_path / f"{name}{i}.png").read_bytes() for i in range(2))
        assert first[:4] == b"\x89PNG"
        assert first == second
