"""Made-up people's names, towns, streets, goods: lists of ours, separated by blanks or semicolons."""

FIRST_NAMES = """
Ada Adam Adriana Ahmed Aisha Alan Alba Alejandro Alexander Alice Amara Amelia Amina Anders Andrea Andrei
Anna Anton Ariel Arjun Astrid Aurora Barbara Beatriz Benjamin Bernd Bianca Birgit Boris Brigitte Bruno
Camila Carla Carlos Carmen Cecilia Chiara Chloe Christian Clara Claude Cristina Daniel Daria David Dennis
Diego Dina Dmitri Dora Edgar Eduardo Elena Elias Elif Elisabeth Emil Emma Eric Erika Esther Eva Fabian Farah
Fatima Felix Fiona Florian Francesca Frida Gabriel Georg Gina Giulia Goran Greta Guido Gustav Hana Hannah
Hans Hassan Heidi Helena Henrik Hiroshi Hugo Ibrahim Ida Igor Ines Ingrid Irina Isabel Ivan Jacob Jana
Jasmin Javier Jens Joana Johan Jonas Jorge Josef Julia Kaito Karin Karl Katarina Kenji Kim Klara Kofi Lara
Lars Laura Lea Leila Lena Leon Liam Lina Linh Lisa Lucas Lucia Luis Lukas Luisa Maja Malik Marco Maria Marie
Marta Martin Mateo Maya Mei Milan Mina Miriam Mohamed Monika Nadia Naomi Nathan Nico Nina Noah Nora Olga
Oliver Omar Oscar Otto Pablo Paula Pedro Petra Priya Rafael Rana Rebecca Renata Ricardo Rita Robert Rosa
Ruben Sabine Salma Samuel Sandra Sara Sebastian Selma Sergio Silvia Simon Sofia Stefan Sven Tamara Tarek
Teresa Theo Thomas Tim Tomas Ulrike Valentina Vera Victor Vincent Wanda Walter Wei Xenia Yara Yasmin Yusuf
Yuki Zara Zoe
"""
LAST_NAMES = """
Abbas Adeyemi Ahlberg Alvarez Andersen Arnold Asante Baker Banerjee Barros Bauer Becker Bennett Berg Bianchi
Blanco Bose Brandt Brown Campbell Cardoso Carter Castillo Chan Chen Clark Cohen Conti Costa Cruz Danielsen
Das Delgado Demir Diaz Dubois Duarte Eriksen Esposito Evans Farkas Fernandez Ferrari Fischer Fontaine Foster
Fuchs Gallo Garcia Gomez Gonzalez Graf Gruber Gupta Haas Hansen Harris Hassan Hoffmann Horvat Huang Hughes
Ivanova Jansen Janssen Johansson Jones Kaiser Kaya Keller Khan Kim Klein Kowalski Kovac Kumar Lambert Larsen
Laurent Lee Lehmann Leroy Lewis Lim Lindberg Lopez Lorenz Maier Marino Martins Mehta Mendes Meyer Miller
Mitchell Moreau Moreno Morgan Moser Murphy Nakamura Navarro Nguyen Nielsen Novak Nowak Okafor Okoye Olsen
Ortega Osman Parker Patel Perez Peters Petrov Pham Pinto Popescu Quispe Ramos Reyes Ricci Richter Rivera
Roberts Romano Rossi Roux Ruiz Sanchez Santos Sato Schmidt Schneider Schulz Silva Simmons Singh Smith Sommer
Sousa Stewart Suzuki Svensson Szabo Takahashi Tanaka Taylor Thompson Torres Tran Vargas Vega Virtanen Vogel
Wagner Walker Wang Weber Werner White Wilson Winkler Wolf Wong Wright Yamamoto Yildiz Yilmaz Young Zhang
Zimmermann
"""
CITIES = """
Aarhus Accra Adelaide Antwerp Athens Austin Bangkok Basel Bergen Berlin Bilbao Bologna Bordeaux Boston
Bremen Brno Bruges Cairo Cardiff Chicago Cologne Cork Cusco Dakar Davao Delft Denver Dresden Dublin Durban
Essen Faro Florence Geneva Genoa Ghent Glasgow Gothenburg Graz Hamburg Hanoi Helsinki Houston Innsbruck
Izmir Jena Kassel Krakow Kyoto Lagos Leeds Leipzig Leuven Lima Linz Lisbon Ljubljana Lodz London Lucerne
Lyon Madrid Malaga Malmo Manila Memphis Mainz Milan Montreal Mumbai Munich Nairobi Nantes Naples Odense Oslo
Ottawa Oviedo Palermo Paris Perth Pilsen Porto Portland Prague Quito Rabat Riga Rome Rostock Salzburg
Santiago Seattle Seoul Seville Split Tallinn Tampere Tartu Toledo Toronto Trento Turin Uppsala Utrecht
Valencia Verona Vienna Vilnius Warsaw Winnipeg Wroclaw York Zagreb Zurich
"""
COUNTRIES = """
Austria Belgium Brazil Canada Chile Croatia Denmark Egypt Estonia Finland France Germany Ghana Greece
Hungary Iceland India Ireland Italy Japan Kenya Latvia Malaysia Mexico Morocco Nepal Norway Peru Poland
Portugal Romania Senegal Singapore Slovenia Spain Sweden Switzerland Thailand Tunisia Turkey Uruguay Vietnam
"""
STREETS = """
Acorn Amber Ash Baker Beech Birch Bridge Castle Cedar Chapel Cherry Church Clover College Dock Elm Factory
Forest Garden Grove Harbour Hazel Highland Hill Ivy Juniper King Lake Laurel Linden Maple Market Meadow Mill
Mint North Oak Olive Orchard Park Pine Poplar Queen Railway River Rose School South Spring Station Summit
Sunset Temple Tower Valley Victoria Walnut Water West Willow Windmill
"""
OCCUPATIONS = """
accountant architect baker butcher carpenter chemist cook dentist designer driver editor electrician
engineer farmer firefighter florist gardener glazier guide hairdresser interpreter jeweller journalist judge
lawyer librarian mason mechanic midwife musician nurse optician painter pharmacist photographer pilot
plumber porter potter roofer sailor scientist secretary shepherd surgeon tailor teacher technician
translator waiter weaver welder
"""
PRODUCTS = """
apple juice; baguette; bananas 1kg; basmati rice; bath towel; batteries AA; beef mince; black pepper;
blueberries; bread roll; brown sugar; butter 250g; candle; carrots; cheddar; chicken breast; chocolate bar;
cinnamon; coffee beans; cola 1.5L; cookies; corn flakes; cotton buds; cream 200ml; croissant; cucumber;
desk lamp; dish soap; duct tape; eggs 10; envelope A4; extension cord; fabric softener; file folder; garlic;
ginger tea; glue stick; green beans; ground coffee; hair brush; hammer; hand soap; hex key set; honey;
ice cream; iced tea; jam strawberry; ketchup; kitchen roll; kiwi; lemonade; lettuce; light bulb; lip balm;
mango; margarine; marker black; milk 1L; mineral water; mozzarella; muesli; mug; mushrooms; mustard;
noodles; notebook; oat milk; olive oil; onions; orange juice; paint brush; paper clips; parsley; pasta;
peanut butter; pears; pen blue; pencil set; pizza; plant pot; popcorn; potatoes 2kg; printer paper; ravioli;
ruler 30cm; salmon; salt; scissors; screwdriver; shampoo; shoe polish; shower gel; socks; soy sauce;
spinach; sponge; stapler; sunscreen; sunflower oil; tea towel; tissue box; tomatoes; toothbrush; toothpaste;
tuna can; umbrella; USB cable; vanilla sugar; vinegar; wall clock; walnuts; washing powder; water bottle;
wholegrain bread; window cleaner; wine red; wood screws; wrapping paper; yoghurt; zucchini
"""
SERVICES = """
annual maintenance; assembly; carpet cleaning; catering; consulting hours; data backup; delivery;
design draft; domain renewal; electrical work; garden care; graphic design; hosting plan; inspection;
installation; insurance fee; interior painting; legal advice; licence renewal; logo design; moving service;
network setup; office rent; on-site support; photography; plumbing repair; printing flyers;
project management; proofreading; roof repair; security audit; software update; spare parts; storage;
training course; translation; travel expenses; tree pruning; web development; window cleaning
"""
