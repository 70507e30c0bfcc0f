"""NegRefine's filter, label by label and question by question, as the official code asks."""


def cleaned(label):
    letters = ""
    for character in label:
        if character.isalpha() or character == "_" or character == "-" or character == " ":
            letters += character
    return letters


def judge(labels, parts_of_speech, id_names, id_texts, text_of, num_nearest, answer):
    """Kept positions, their names, and one reason per label; `answer(kind, label, class_name)` gives raw text.

    `text_of(label)` and `id_texts` are unit vectors as lists of numbers.
    """
    kept, names, reasons = [], [], []
    seen = []
    for position, label in enumerate(labels):
        name = cleaned(label)
        if len(name) <= 2:
            reasons.append("too short")
            continue
        if (name, parts_of_speech[position]) in seen:
            reasons.append("merged")
            continue
        seen.append((name, parts_of_speech[position]))
        reason = ask_all(name, nearest(text_of(name), id_names, id_texts, num_nearest), answer)
        reasons.append(reason)
        if reason == "":
            kept.append(position)
            names.append(name)
    return kept, names, reasons


def ask_all(name, classes, answer):
    if says_yes(answer("proper_noun", name, None)):
        return "proper noun"
    for class_name in classes:
        if name == class_name:
            return "the same"
        if says_yes(answer("subcategory", name, class_name)):
            return "subcategory"
    return ""


def nearest(vector, id_names, id_texts, num_nearest):
    cosines = [sum(a * b for a, b in zip(vector, other, strict=True)) for other in id_texts]
    order = sorted(range(len(id_names)), key=lambda i: -cosines[i])
    return [id_names[i] for i in order[:num_nearest]]


def says_yes(text):
    return text.strip().lower().startswith("yes")
