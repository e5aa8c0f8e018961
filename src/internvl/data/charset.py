"""The characters that generated pictures show."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
SIGNS = ".,:;!?'\"-/&%$€£#+@()="
ACCENTED = "ÄÖÜäöüßÉéèêàâçñáíóúô"
CHARSET = LETTERS + DIGITS + SIGNS + ACCENTED
"""Every character a picture may show; its position + 1 is its class in dense supervision."""
CHARACTER_CLASSES = {character: i + 1 for i, character in enumerate(CHARSET)}

PRINTED = (
    LETTERS + DIGITS + "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿ¡¿£¥€§©®°±·×«»–—‘’“”„•…"
    "ĀāĂăĄąĆćČčĎďĐđĒēĖėĘęĚěĞğĢģĪīĮįİıĶķĹĺĻļĽľŁłŃńŅņŇňŐőŒœŘřŚśŞşŠšŢţŤťŪūŮůŰűŲųŹźŻżŽžȘșȚțơưăạảấầẩậắằẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ"
    "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρςστυφχψωάέήίόύώ"
    "АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюяёЁєЄіІїЇґҐјЈљЉњЊћЋђЂџЏѓѕќ"
)
"""Every character that dense supervision tells apart in documents; others are one class more."""
