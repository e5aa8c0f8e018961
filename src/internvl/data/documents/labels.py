"""What is printed beside fields, in some languages: ours."""

from __future__ import annotations

import random

_RECEIPT = {
    "en": {
        "title": "RECEIPT|CASH RECEIPT|TAX INVOICE|SALES RECEIPT|INVOICE",
        "number": "Receipt No|Receipt #|Bill No|Doc No|Trans. ID|Invoice No",
        "date": "Date|Date|Bill date|DATE", "time": "Time|TIME",
        "cashier": "Cashier|Served by|Operator|Staff", "table": "Table",
        "item": "Item|Description", "quantity": "Qty", "amount": "Amount|Price|Total",
        "subtotal": "Subtotal|Sub-total|SUBTOTAL|Total sales",
        "discount": "Discount|You saved", "tax_name": "VAT|GST|Tax|Sales tax",
        "total": "TOTAL|Total|Total amount|Grand total|Amount due|Net total",
        "cash": "Cash|CASH|Cash received|Paid", "change": "Change|CHANGE", "card": "Card|VISA|Debit card",
        "phone": "Tel|Phone",
    },
    "de": {
        "title": "Quittung|Kassenbon|Rechnung", "number": "Beleg-Nr.|Bon-Nr.", "date": "Datum",
        "time": "Uhrzeit|Zeit",
        "cashier": "Bedient von|Kassierer", "table": "Tisch", "item": "Artikel", "quantity": "Menge",
        "amount": "Betrag",
        "subtotal": "Zwischensumme", "discount": "Rabatt", "tax_name": "MwSt.",
        "total": "SUMME|Gesamt|Gesamtbetrag|Zu zahlen",
        "cash": "Bar|Gegeben", "change": "Rückgeld", "card": "EC-Karte|Karte", "phone": "Tel.",
    },
    "fr": {
        "title": "Reçu|Ticket de caisse|Facture", "number": "Ticket n°|N° facture", "date": "Date",
        "time": "Heure",
        "cashier": "Servi par|Caissier", "table": "Table", "item": "Article", "quantity": "Qté",
        "amount": "Montant",
        "subtotal": "Sous-total", "discount": "Remise", "tax_name": "TVA",
        "total": "TOTAL|Total TTC|Net à payer",
        "cash": "Espèces", "change": "Rendu|Monnaie", "card": "Carte bancaire", "phone": "Tél.",
    },
    "es": {
        "title": "Recibo|Ticket|Factura", "number": "Ticket n.º|Factura n.º", "date": "Fecha", "time": "Hora",
        "cashier": "Atendido por|Cajero", "table": "Mesa", "item": "Artículo", "quantity": "Cant.",
        "amount": "Importe",
        "subtotal": "Subtotal", "discount": "Descuento", "tax_name": "IVA",
        "total": "TOTAL|Total a pagar|Importe total",
        "cash": "Efectivo", "change": "Cambio", "card": "Tarjeta", "phone": "Tel.",
    },
    "it": {
        "title": "Ricevuta|Scontrino|Documento commerciale", "number": "N. documento|Scontrino n.",
        "date": "Data", "time": "Ora",
        "cashier": "Cassiere|Operatore", "table": "Tavolo", "item": "Descrizione", "quantity": "Q.tà",
        "amount": "Importo",
        "subtotal": "Subtotale", "discount": "Sconto", "tax_name": "IVA", "total": "TOTALE|Totale complessivo",
        "cash": "Contante", "change": "Resto", "card": "Carta", "phone": "Tel.",
    },
    "pt": {
        "title": "Recibo|Talão|Fatura", "number": "Fatura n.º|Recibo n.º", "date": "Data", "time": "Hora",
        "cashier": "Operador|Atendido por", "table": "Mesa", "item": "Artigo", "quantity": "Qtd.",
        "amount": "Valor",
        "subtotal": "Subtotal", "discount": "Desconto", "tax_name": "IVA", "total": "TOTAL|Total a pagar",
        "cash": "Numerário|Dinheiro", "change": "Troco", "card": "Cartão", "phone": "Tel.",
    },
    "nl": {
        "title": "Kassabon|Bon|Factuur", "number": "Bonnummer|Bon nr.", "date": "Datum", "time": "Tijd",
        "cashier": "Kassier|Medewerker", "table": "Tafel", "item": "Artikel", "quantity": "Aantal",
        "amount": "Bedrag",
        "subtotal": "Subtotaal", "discount": "Korting", "tax_name": "BTW", "total": "TOTAAL|Totaal|Te betalen",
        "cash": "Contant", "change": "Wisselgeld", "card": "Pinpas|Kaart", "phone": "Tel.",
    },
    "pl": {
        "title": "Paragon|Rachunek", "number": "Nr paragonu", "date": "Data", "time": "Godzina",
        "cashier": "Kasjer",
        "table": "Stolik", "item": "Nazwa", "quantity": "Ilość", "amount": "Kwota", "subtotal": "Razem netto",
        "discount": "Rabat", "tax_name": "VAT", "total": "SUMA|Do zapłaty", "cash": "Gotówka",
        "change": "Reszta",
        "card": "Karta", "phone": "Tel.",
    },
    "sv": {
        "title": "Kvitto", "number": "Kvittonr", "date": "Datum", "time": "Tid", "cashier": "Kassör",
        "table": "Bord",
        "item": "Artikel", "quantity": "Antal", "amount": "Belopp", "subtotal": "Delsumma",
        "discount": "Rabatt",
        "tax_name": "Moms", "total": "Totalt|Att betala", "cash": "Kontant", "change": "Tillbaka",
        "card": "Kort", "phone": "Tel.",
    },
}  # fmt: skip
RECEIPT_LANGUAGES = tuple(code for code in _RECEIPT if code != "en")

_FORM = {
    "en": ("Full name|Name", "Date of birth|Born on", "Street address|Address", "City|Town", "Postal code|ZIP code",
           "Country", "Telephone|Phone number", "E-mail", "Occupation|Profession", "Passport number|ID number",
           "Nationality", "Place of birth", "Department", "Customer number", "Date"),
    "de": ("Vollständiger Name|Name", "Geburtsdatum", "Straße|Anschrift", "Stadt|Ort", "Postleitzahl|PLZ", "Land",
           "Telefon", "E-Mail", "Beruf", "Passnummer|Ausweisnummer", "Staatsangehörigkeit", "Geburtsort",
           "Abteilung",
           "Kundennummer", "Datum"),
    "fr": ("Nom complet|Nom", "Date de naissance", "Adresse", "Ville", "Code postal", "Pays", "Téléphone", "Courriel",
           "Profession", "Numéro de passeport", "Nationalité", "Lieu de naissance", "Service",
           "Numéro de client", "Date"),
    "es": ("Nombre completo|Nombre", "Fecha de nacimiento", "Dirección", "Ciudad", "Código postal", "País", "Teléfono",
           "Correo electrónico", "Profesión", "Número de pasaporte", "Nacionalidad", "Lugar de nacimiento",
           "Departamento", "Número de cliente", "Fecha"),
    "it": ("Nome e cognome|Nome", "Data di nascita", "Indirizzo", "Città", "CAP", "Paese", "Telefono", "E-mail",
           "Professione", "Numero di passaporto", "Nazionalità", "Luogo di nascita", "Reparto",
           "Codice cliente", "Data"),
    "pt": ("Nome completo|Nome", "Data de nascimento", "Morada", "Cidade", "Código postal", "País", "Telefone",
           "E-mail", "Profissão", "Número do passaporte", "Nacionalidade", "Local de nascimento", "Departamento",
           "Número de cliente", "Data"),
    "nl": ("Volledige naam|Naam", "Geboortedatum", "Straat|Adres", "Plaats", "Postcode", "Land", "Telefoon", "E-mail",
           "Beroep", "Paspoortnummer", "Nationaliteit", "Geboorteplaats", "Afdeling", "Klantnummer", "Datum"),
    "pl": ("Imię i nazwisko", "Data urodzenia", "Adres|Ulica", "Miasto", "Kod pocztowy", "Kraj", "Telefon", "E-mail",
           "Zawód", "Numer paszportu", "Obywatelstwo", "Miejsce urodzenia", "Dział", "Numer klienta", "Data"),
    "sv": ("Fullständigt namn|Namn", "Födelsedatum", "Adress", "Ort", "Postnummer", "Land", "Telefon", "E-post", "Yrke",
           "Passnummer", "Nationalitet", "Födelseort", "Avdelning", "Kundnummer", "Datum"),
}  # fmt: skip
FORM_KEYS = ("name", "date_of_birth", "address", "city", "postal_code", "country", "phone", "email", "occupation",
             "id_number", "nationality", "place_of_birth", "department", "customer_number", "date")  # fmt: skip
FORM_LANGUAGES = tuple(code for code in _FORM if code != "en")


def receipt_labels(rng: random.Random, code: str) -> dict[str, str]:
    """Return one printed label for every field of a receipt; English where a language has none."""
    return {key: rng.choice(forms.split("|")) for key, forms in _RECEIPT.get(code, _RECEIPT["en"]).items()}


def form_labels(rng: random.Random, code: str) -> dict[str, str]:
    """Return one printed label for every key of `FORM_KEYS`."""
    return {
        key: rng.choice(forms.split("|"))
        for key, forms in zip(FORM_KEYS, _FORM.get(code, _FORM["en"]), strict=True)
    }
