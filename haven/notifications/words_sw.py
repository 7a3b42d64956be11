"""What is said in Swahili (Kiswahili sanifu, as it is used of rent in Kenya)."""

from __future__ import annotations

from typing import Final

from haven.notifications.words import Language, Mail, Words

_WORDS: Final = {
    "PAYMENT_COMPLETED": Words(
        tenant_subject="Malipo yamepokelewa: {amount} ya {place}",
        tenant_body=(
            "Habari {tenant},\n\nTumepokea malipo yako ya {amount} kwa ajili ya {place}. Asante."
            "\n\n{details}\n\n{agency}\n"
        ),
        tenant_sms="{agency}: tumepokea {amount} ya {place}. Risiti {receipt_number}. Asante.",
        agency_subject="{tenant} amelipa {amount} ya {place}",
        agency_body="{tenant} amelipa {amount} kwa ajili ya {place}.\n\n{details}\n",
        details=("receipt_number", "method", "reference"),
    ),
    "PAYMENT_FAILED": Words(
        tenant_subject="Malipo hayakukamilika: {amount} ya {place}",
        tenant_body=(
            "Habari {tenant},\n\nMalipo yako ya {amount} kwa ajili ya {place} hayakukamilika."
            "\n\n{reason}\n\n{agency}\n"
        ),
        tenant_sms="{agency}: malipo yako ya {amount} ya {place} hayakukamilika. {reason}",
        agency_subject="{tenant} hakuweza kulipa {amount} ya {place}",
        agency_body=(
            "Malipo ya {amount} kutoka kwa {tenant} kwa ajili ya {place} hayakukamilika."
            " {staff_reason}\n\n{details}\n"
        ),
        details=("failure_code", "payment_id"),
    ),
    "PAYMENT_NEEDS_REVIEW": Words(
        tenant_subject="Malipo yako yanakaguliwa: {amount} ya {place}",
        tenant_body=(
            "Habari {tenant},\n\nMalipo yako ya {amount} kwa ajili ya {place} bado hayajathibitishwa."
            " Tunayakagua na M-PESA. Tafadhali usilipe tena kabla hatujawasiliana nawe.\n\n{agency}\n"
        ),
        tenant_sms="{agency}: malipo yako ya {amount} ya {place} yanakaguliwa. Tafadhali usilipe tena kwa sasa.",
        agency_subject="Malipo yanahitaji uamuzi: {amount} ya {tenant}",
        agency_body=(
            "Malipo ya {amount} kutoka kwa {tenant} kwa ajili ya {place} yanahitaji uamuzi wa mtu."
            " {staff_reason}\n\n{details}\n"
        ),
        details=("failure_code", "payment_id"),
    ),
    "INVOICE_ISSUED": Words(
        tenant_subject="Ankara {number}: {total} ya {place}",
        tenant_body=(
            "Habari {tenant},\n\nAnkara yako ya {place} iko tayari.\n\n{details}\n\n"
            "Tafadhali lipa kabla ya tarehe ya mwisho kupita. Asante.\n\n{agency}\n"
        ),
        tenant_sms="{agency}: ankara {number} ya {total} kwa {place} inatakiwa kulipwa ifikapo {due_at}.",
        details=("number", "total", "due_at"),
    ),
    "RENT_DUE": Words(
        tenant_subject="Kumbusho la kodi: {balance} ya {place} ifikapo {due_at}",
        tenant_body=(
            "Habari {tenant},\n\nTunakukumbusha kuwa kodi ya {balance} kwa ajili ya {place} inatakiwa kulipwa ifikapo"
            " {due_at}.\n\n{details}\n\nIkiwa umeshalipa, tafadhali puuza ujumbe huu.\n\n{agency}\n"
        ),
        tenant_sms="{agency}: kumbusho, kodi ya {balance} kwa {place} inatakiwa kulipwa ifikapo {due_at}. Asante.",
        details=("number", "balance", "due_at"),
    ),
    "RENT_OVERDUE": Words(
        tenant_subject="Kodi imechelewa: {balance} ya {place}",
        tenant_body=(
            "Habari {tenant},\n\nKodi ya {balance} kwa ajili ya {place} ilitakiwa kulipwa ifikapo {due_at}, na bado"
            " hatujaipokea.\n\n{details}\n\nTafadhali lipa, au wasiliana nasi ikiwa huwezi. Ikiwa umeshalipa, tafadhali"
            " puuza ujumbe huu.\n\n{agency}\n"
        ),
        tenant_sms="{agency}: kodi ya {balance} kwa {place} ilitakiwa kulipwa {due_at}. Tafadhali lipa au wasiliana nasi.",
        details=("number", "balance", "due_at"),
    ),
}

_MAILS: Final = {
    "export_ready": Mail(
        "Faili yako iko tayari: {name}",
        "Faili yako {name} iko tayari: safu {rows}, {size}.\n\nIpakue hapa:\n{url}\n\nKiungo hiki kitafanya kazi hadi"
        " {expires_at}. Yeyote aliye nacho anaweza kupakua faili, kwa hivyo usimpe mtu mwingine.\n",
    ),
    "report_ready": Mail(
        "Ripoti: {title}, {period}",
        "Ripoti ya {title} ya {period} iko tayari.\n\nIpakue hapa:\n{url}\n\nKiungo hiki kitafanya kazi hadi {expires_at}."
        " Yeyote aliye nacho anaweza kupakua faili, kwa hivyo usimpe mtu mwingine.\n",
    ),
    "webhook_disabled": Mail(
        "Webhook imezimwa: {url}",
        "Webhook {url} haijapokea tukio lolote tangu {since}, kwa hivyo Haven haitaitumia tena.\n\n"
        "Kosa la mwisho: {error}\n\nIkishaanza kufanya kazi tena, weka hali yake iwe ACTIVE; matukio iliyokosa yako"
        " kwenye kumbukumbu yake na yanaweza kutumwa tena kutoka hapo.\n",
    ),
    "alert_firing": Mail(
        "Tahadhari ({severity}): {rule}",
        "{description}.\n\nKanuni: {rule}\nKuhusu: {labels}\nKiwango: {value}\nKikomo: {threshold}\nTangu: {since}\n"
        "Tahadhari: {alert_id}\n\nHatua za kuchukua ziko kwenye docs/alerting.md. Kuishughulikia au kuinyamazisha:\n{url}\n",
    ),
    "alert_resolved": Mail(
        "Imekwisha: {rule}",
        "Hili limekwisha: {description}.\n\nKanuni: {rule}\nKuhusu: {labels}\nKiwango: {value}\nKikomo: {threshold}\n"
        "Kuanzia: {since}\nHadi: {until}\nTahadhari: {alert_id}\n\n{url}\n",
    ),
}

_REASONS: Final = {
    "1": "Salio lako la M-PESA halitoshi.",
    "1001": "Simu yako ilikuwa na shughuli nyingine ya M-PESA. Jaribu tena baada ya dakika chache.",
    "1019": "Muda wa malipo ulikwisha. Jaribu tena.",
    "DECIDED": "Tumechunguza: malipo haya hayakutufikia.",
    "1032": "Ombi la malipo lilighairiwa kwenye simu.",
    "1037": "Simu haikupatikana au haikujibu. Hakikisha imewashwa, kisha ujaribu tena.",
    "2001": "PIN uliyoweka si sahihi.",
}

SWAHILI: Final = Language(
    words=_WORDS,
    mails=_MAILS,
    labels={
        "receipt_number": "Risiti",
        "method": "Njia ya malipo",
        "reference": "Kumbukumbu",
        "failure_code": "Msimbo",
        "payment_id": "Malipo",
        "number": "Ankara",
        "total": "Kiasi",
        "balance": "Kiasi cha kulipa",
        "due_at": "Tarehe ya mwisho",
    },
    methods={"MPESA": "M-Pesa", "CASH": "pesa taslimu", "BANK": "benki", "CARD": "kadi", "CHEQUE": "hundi"},
    months=tuple(
        "Januari Februari Machi Aprili Mei Juni Julai Agosti Septemba Oktoba Novemba Desemba".split()
    ),
    reasons=_REASONS,
)
