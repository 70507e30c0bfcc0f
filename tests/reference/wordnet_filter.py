"""Proper nouns and subcategories by walking up WordNet from each label, one ID class at a time."""

import re


def judge(labels, classes, rows, taxon_prefixes):
    """Reason and class name of each label; reason "" where it is kept.

    labels and classes are (name, part of speech, synset or None), rows (id, is_instance, hypernyms, lemmas) of nouns.
    """
    by_id = {row[0]: row for row in rows}
    by_lemma = [(lemma.lower(), row[0]) for row in rows for lemma in row[3]]
    classes = [(name, [synset] if synset else class_senses(name, by_lemma, by_id)) for name, _, synset in classes]
    return [judge_one(*label, classes, by_lemma, by_id, taxon_prefixes) for label in labels]


def judge_one(name, part_of_speech, synset, classes, by_lemma, by_id, taxon_prefixes):
    if part_of_speech == "adjective":
        return "", ""
    all_senses = senses(name, by_lemma)
    if any(name.lower().startswith(prefix) for prefix in taxon_prefixes):
        return "proper noun", ""
    if all_senses and all(by_id[sense][1] for sense in all_senses):
        return "proper noun", ""
    own = [synset] if synset else all_senses
    for class_name, targets in classes:
        if name.lower() == class_name.lower() or any(sense in targets for sense in own):
            return "the same", class_name
    above = [ancestor for sense in own for ancestor in ancestors(sense, by_id)]
    for class_name, targets in classes:
        if any(target in above for target in targets):
            return "subcategory", class_name
    return "", ""


def senses(name, by_lemma):
    return [synset for lemma, synset in by_lemma if lemma == name.strip().lower()]


def ancestors(sense, by_id):
    """Everything above a synset, without itself."""
    above = []
    for hypernym in by_id[sense][2]:
        above += [hypernym, *ancestors(hypernym, by_id)]
    return above


def class_senses(name, by_lemma, by_id):
    if senses(name, by_lemma):
        return senses(name, by_lemma)
    found = []
    for piece in name.split("/"):
        hint = re.search(r"\((.*)\)", piece)
        own = senses(re.sub(r"\(.*\)", "", piece), by_lemma)
        if hint:
            wanted = senses(hint[1], by_lemma)
            own = [sense for sense in own if any(above in wanted for above in ancestors(sense, by_id))] or own
        found += own
    return found
