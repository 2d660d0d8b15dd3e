"""The exceptions that an inventory opens, each with what a person can do about it."""

REMEDIES = {
    "INV_UNSPLITTABLE": "The archive cuts its answer to this question and no key narrows it. Compare with an export "
    "of the archive's database, or have its answer limit raised and run the inventory again.",
    "INV_UNDECODABLE": "Answers of the archive are no valid DICOM or name no study. Compare the study count with "
    "an export of its database.",
}
