"""`--language`: the sentence that asks for an answer in a language, in that language where we know it."""

from __future__ import annotations

from typing import NamedTuple


class Language(NamedTuple):
    """A language: its code, its English name, its own name, and the request to answer in it."""

    code: str
    english: str
    own: str
    instruction: str


LANGUAGES = (
    Language("ar", "Arabic", "العربية", "يرجى الإجابة باللغة العربية."),
    Language("bn", "Bengali", "বাংলা", "অনুগ্রহ করে বাংলায় উত্তর দিন।"),
    Language("cs", "Czech", "čeština", "Odpovězte prosím česky."),
    Language("de", "German", "Deutsch", "Bitte antworte auf Deutsch."),
    Language("el", "Greek", "ελληνικά", "Παρακαλώ απάντησε στα ελληνικά."),
    Language("en", "English", "English", "Please answer in English."),
    Language("es", "Spanish", "español", "Por favor, responde en español."),
    Language("fa", "Persian", "فارسی", "لطفاً به زبان فارسی پاسخ دهید."),
    Language("fr", "French", "français", "Veuillez répondre en français."),
    Language("he", "Hebrew", "עברית", "נא לענות בעברית."),
    Language("hi", "Hindi", "हिन्दी", "कृपया हिन्दी में उत्तर दें।"),
    Language("id", "Indonesian", "Bahasa Indonesia", "Tolong jawab dalam bahasa Indonesia."),
    Language("it", "Italian", "italiano", "Per favore, rispondi in italiano."),
    Language("ja", "Japanese", "日本語", "日本語で答えてください。"),
    Language("ko", "Korean", "한국어", "한국어로 대답해 주세요."),
    Language("nl", "Dutch", "Nederlands", "Antwoord alstublieft in het Nederlands."),
    Language("pl", "Polish", "polski", "Proszę odpowiedzieć po polsku."),
    Language("pt", "Portuguese", "português", "Por favor, responda em português."),
    Language("ru", "Russian", "русский", "Пожалуйста, ответьте на русском языке."),
    Language("sv", "Swedish", "svenska", "Svara på svenska, tack."),
    Language("th", "Thai", "ไทย", "กรุณาตอบเป็นภาษาไทย"),
    Language("tr", "Turkish", "Türkçe", "Lütfen Türkçe cevap verin."),
    Language("uk", "Ukrainian", "українська", "Будь ласка, дайте відповідь українською мовою."),
    Language("vi", "Vietnamese", "Tiếng Việt", "Vui lòng trả lời bằng tiếng Việt."),
    Language("zh", "Chinese", "中文", "请用中文回答。"),
)

_BY_NAME = {name.casefold(): language for language in LANGUAGES for name in language[:3]}


def instruction(language: str) -> str:
    """Return the request to answer in `language`: a code ("de"), an English or an own name.

    A language that is not in the table is asked for in English, by the name given.
    """
    known = _BY_NAME.get(language.strip().casefold())
    return known.instruction if known is not None else f"Please answer in {language.strip()}."
