"""The modality that a SOP class alone tells (PS3.3 section C.7.3.1.1.1): for series whose Modality is missing."""

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_BY_CLASS = {
    "1": "CR", "1.1": "DX", "1.1.1": "DX", "1.2": "MG", "1.2.1": "MG", "1.3": "IO", "1.3.1": "IO", "2": "CT",
    "2.1": "CT", "2.2": "CT", "3.1": "US", "4": "MR", "4.1": "MR", "4.2": "MR", "4.3": "MR", "6.1": "US",
    "6.2": "US", "11.1": "PR", "11.2": "PR", "12.1": "XA", "12.2": "RF", "13.1.3": "MG", "20": "NM",
    "66.4": "SEG", "66.1": "REG", "77.1.1": "ES", "77.1.2": "GM", "77.1.3": "SM", "77.1.4": "XC",
    "77.1.5.1": "OP", "77.1.5.4": "OPT", "77.1.6": "SM", "88.11": "SR", "88.22": "SR", "88.33": "SR",
    "88.34": "SR", "88.50": "SR", "88.59": "KO", "88.67": "SR", "104.1": "DOC", "104.2": "DOC", "128": "PT",
    "128.1": "PT", "130": "PT", "481.1": "RTIMAGE", "481.2": "RTDOSE", "481.3": "RTSTRUCT", "481.4": "RTRECORD",
    "481.5": "RTPLAN", "481.8": "RTPLAN", "9.1.1": "ECG", "9.1.2": "ECG", "9.1.3": "ECG",
}  # fmt: skip
"""Classes of one modality; secondary captures may be of any, so they are not in it."""


def modality_of(sop_class: str) -> str:
    """Empty where the class says nothing."""
    return _BY_CLASS.get(sop_class.removeprefix(_STORAGE), "") if sop_class.startswith(_STORAGE) else ""
