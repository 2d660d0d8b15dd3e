"""The modality that a SOP class alone tells (PS3.3 section C.7.3.1.1.1): for series whose Modality is missing."""

from imaging.facts import UNSURE

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

TERMS = frozenset({
    "ANN", "AR", "AS", "ASMT", "AU", "BDUS", "BI", "BMD", "CD", "CF", "CFM", "CP", "CR", "CS", "CT", "CTPROTOCOL",
    "DD", "DF", "DG", "DM", "DMS", "DOC", "DS", "DX", "EC", "ECG", "EEG", "EMG", "EOG", "EPS", "ES", "FA", "FID",
    "FS", "GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO", "LEN", "LP", "LS", "M3D", "MA", "MG", "MR",
    "MS", "NM", "OAM", "OCT", "OP", "OPM", "OPR", "OPT", "OPTBSV", "OPTENF", "OPV", "OSS", "OT", "PA", "PLAN",
    "POS", "PR", "PT", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE", "RTINTENT", "RTPLAN", "RTRAD",
    "RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SEG", "SM", "SMR", "SR", "SRF", "ST", "STAIN", "TEXTUREMAP", "TG",
    "US", "VA", "VF", "XA", "XAPROTOCOL", "XC",
})  # fmt: skip
"""What Modality may be, with retired terms (PS3.3 section C.7.3.1.1.1)."""


def term_of(value: bytes | None) -> str:
    """The value as a term; empty where there is none, `UNSURE` where it is something else."""
    text = (value or b"").strip(b" \0").decode("ascii", "replace").upper()
    return text if not text or text in TERMS else UNSURE


def modality_of(sop_class: str) -> str:
    """Empty where the class says nothing."""
    return _BY_CLASS.get(sop_class.removeprefix(_STORAGE), "") if sop_class.startswith(_STORAGE) else ""
