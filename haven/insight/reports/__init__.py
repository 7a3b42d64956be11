"""Reports: what an agency's books say of a period, as JSON, a workbook or a typeset page."""
