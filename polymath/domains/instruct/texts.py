"""What requests and answers of the domain are made of; a `|` stands between the members of a bank."""

# What to do, to be put behind one of the openings, and after the bar the same as a sentence
OPENINGS = ("Please {}.", "You must {}.", "Make sure to {}.")
PHRASES = {
    "existence": "use the keywords {keywords}|Include keywords {keywords} in the response.",
    "frequency": "use the word {keyword} {relation} {frequency} times|Say {keyword} {relation} {frequency} times.",
    "forbidden_words": "avoid the words {forbidden_words}|Do not include keywords {forbidden_words} in the response.",
    "letter_frequency": "use the letter {letter} {let_relation} {let_frequency} times|"
    "In your response, the letter {letter} should appear {let_relation} {let_frequency} times.",
    "response_language": "write in {language} only|Your ENTIRE response should be in {language}, no other.",
    "number_sentences": "write {relation} {num_sentences} sentences|Answer with {relation} {num_sentences} sentences.",
    "number_paragraphs": "write exactly {num_paragraphs} paragraphs with the markdown divider *** between them|"
    "There should be {num_paragraphs} paragraphs, separated with the markdown divider: ***",
    "number_words": "use {relation} {num_words} words|Answer with {relation} {num_words} words.",
    "nth_paragraph_first_word": "write {num_paragraphs} paragraphs with blank lines between and begin paragraph "
    "{nth_paragraph} with {first_word}|Write {num_paragraphs} paragraphs, separated by two new lines. Paragraph "
    "{nth_paragraph} must start with the word {first_word}.",
    "number_placeholders": "include at least {num_placeholders} placeholders in square brackets, such as [address]|"
    "The response must contain at least {num_placeholders} placeholders represented by square brackets.",
    "postscript": "add a postscript that starts with {postscript_marker}|Add a postscript ({postscript_marker}).",
    "number_bullet_lists": "include exactly {num_bullets} markdown bullet points, which begin with *|"
    "Your answer must contain exactly {num_bullets} bullet points in markdown, such as:\n* This is a point.",
    "constrained_response": 'answer with "My answer is yes.", "My answer is no." or "My answer is maybe."|'
    "Answer with one of the following options: My answer is yes. / My answer is no. / My answer is maybe.",
    "number_highlighted_sections": "highlight at least {num_highlights} parts of it in markdown, like *this*|"
    "Highlight at least {num_highlights} sections in your answer with markdown, i.e. *highlighted section*.",
    "multiple_sections": 'divide the text into {num_sections} sections with headings: "{section_spliter} 1" and so on|'
    "Your response must have {num_sections} sections. Mark the beginning of each with {section_spliter} X.",
    "json_format": "give the whole answer as JSON|Entire output should be wrapped in JSON format.",
    "title": "give it a title, in angular brackets like <<this>>|Your answer must contain a <<title>> in brackets.",
    "two_responses": "give two different responses with ****** between them|Give two answers, separated by ******.",
    "repeat_prompt": "repeat the request (what stands before this sentence) word for word before you answer it|"
    "First repeat the request word for word, then answer it (it does not include this sentence or what follows it).",
    "end_checker": "end with these exact words: {end_phrase}|Finish your response with the exact phrase {end_phrase}",
    "quotation": "put all of it in double quotation marks|Wrap your entire response with double quotation marks.",
    "capital_word_frequency": "write {capital_relation} {capital_frequency} words in capital letters|"
    "In your response, words with all capital letters should appear {capital_relation} {capital_frequency} times.",
    "english_capital": "write in English and in capital letters only|Answer in English, and in all capital letters.",
    "english_lowercase": "write in English, in lowercase letters only|Answer in English without any capital letters.",
    "no_comma": "use no commas|In your entire response, refrain from the use of any commas.",
}
KINDS = {  # kinds of text, and how they begin
    "a letter": "I am writing to you about {topic}.",
    "an email": "This is a short message about {topic}.",
    "a blog post": "This week's post is about {topic}.",
    "a speech": "Thank you all for coming to hear about {topic}.",
    "a newspaper column": "Few subjects get less attention in the papers than {topic}.",
    "a short guide": "This guide is an introduction to {topic}.",
    "a diary entry": "I have been thinking about {topic} all day.",
    "a flyer": "Have you ever thought about {topic}?",
}
ACTIVITIES = (
    "baking bread|growing tomatoes|keeping a diary|learning the guitar|painting with watercolors|cooking lentil soup|"
    "repairing old furniture|watching birds|hiking in the hills|playing chess|reading aloud|brewing coffee|juggling|"
    "knitting a scarf|folding paper cranes|taking photographs|writing letters by hand|saving money|speaking in public|"
    "sorting a crowded cupboard|swimming in cold water|learning a new language|mending torn clothes|keeping bees|"
    "making cheese|looking at the stars|singing in a choir|planting a hedge|collecting stamps|tracing a family tree|"
    "preparing a picnic|caring for an old dog|building a birdhouse|growing herbs|running a book club|carving spoons"
)
SETTINGS = (
    "in a small town|with very little money|during the winter|for the first time|after work|at the weekend|"
    "together with neighbors|with children around|after a long break|without special tools"
)
AUDIENCES = (
    "beginners|busy parents|retired teachers|students|nurses on night shifts|young couples|new neighbors|night owls|"
    "office workers|shy people|impatient people|bus drivers|farmers|grandparents|programmers|travelers|scientists|"
    "shop owners|musicians|athletes|librarians|firefighters|gardeners|tourists|volunteers"
)
REQUESTS = (
    *("Write {kind} about {topic} for {audience}.", "Compose {kind} for {audience} on the subject of {topic}."),
    "I need {kind} for {audience}. It should be about {topic}.",
    "Could you write {kind} about {topic}? It is meant for {audience}.",
)
QUESTIONS = ("Is {topic} a good idea for {audience}?", "Would {audience} enjoy {topic}?")
SENTENCES = (
    *("{Topic} is easier than it looks.", "Nobody is born with a talent for {topic}.", "What matters is to begin."),
    *("Many find that {topic} makes the day a little calmer.", "Nothing about {topic} has to be perfect."),
    *("A notebook helps to remember what went well and what did not.", "It is wise to set aside half an hour for it."),
    *("There is no need to buy anything on the first day.", "{Topic} also brings people together."),
    *("The local library has more about it than one would expect.", "Other people are glad to share what they know."),
    *("After a month the first results can be seen.", "It pays to ask someone who has done it for years."),
    *("Those who keep at it are rewarded sooner or later.", "A short pause often helps more than another attempt."),
    *("Slowly but surely, it turns into a habit.", "In the end, the effort is small and the reward is large."),
    *("As with most things, the beginning is the hardest part.", "The best part of {topic} is the moment it works."),
)
CLOSINGS = ("I hope this helps {audience}.", "I like it and I wish I had begun.", "I think {audience} and I agree.")
KEYWORDS = ("patience", "courage", "curiosity", "humor", "planning", "confidence", "creativity", "discipline")
FREQUENT = ("practice", "comfort", "focus", "trust", "routine", "honesty", "progress", "rhythm")
ABOUT_WORD = (
    *("It takes {word}.", "Without {word} little will come of it.", "A bit of {word} goes a long way."),
    *("Above all it calls for {word}.", "It is also a lesson in {word}.", "Talk about {word} with a friend."),
)
AVOIDED = ("simply", "never", "always", "amazing", "great", "easy", "important", "should", "today", "world", "love")
GAPS = (
    *("Questions can be sent to [email address].", "The next meeting is on [date].", "Call [phone number] to join."),
    *("It takes place at [street and number].", "Ask for [name of the host] at the door.", "See [website]."),
)
POINTS = ("Start small", "Ask for help", "Take notes", "Share the results", "Rest now and then", "Try again next week")
POSTSCRIPTS = ("Tell me how it goes.", "There is more to come next month.", "Bring a friend along.")
ENDINGS = ("Is there anything else I can help with?", "Any other questions?", "That is all for now.", "Good luck!")
LANGUAGES = {"de": "German", "fr": "French", "es": "Spanish", "it": "Italian"}
TRANSLATED = {  # topics in English, then in the order of the languages
    "gardening": ("Der Garten", "Le jardin", "El jard\u00edn", "Il giardino"),
    "music": ("Die Musik", "La musique", "La m\u00fasica", "La musica"),
    "reading": ("Das Lesen", "La lecture", "La lectura", "La lettura"),
    "photography": ("Das Fotografieren", "La photographie", "La fotograf\u00eda", "La fotografia"),
}
ABROAD = {
    "de": "{Topic} spielt im Leben vieler Menschen eine gro\u00dfe Rolle.|{Topic} bringt Jung und Alt zusammen.|Viele "
    "Familien sprechen beim Essen dar\u00fcber.|Am Anfang braucht man nur ein wenig Zeit und etwas Geduld.|{Topic} "
    "macht den Alltag ein wenig sch\u00f6ner.|Ein gutes Buch hilft bei den ersten Versuchen.",
    "fr": "{Topic} occupe une grande place dans la vie de beaucoup de gens.|{Topic} rassemble les jeunes et les "
    "anciens.|Au d\u00e9but il suffit d'un peu de temps et de patience.|Beaucoup de familles en parlent pendant le "
    "d\u00eener.|{Topic} rend la vie un peu plus belle.|Un bon livre aide pendant les premiers essais.",
    "es": "{Topic} ocupa un lugar importante en la vida de muchas personas.|{Topic} une a los j\u00f3venes y a los "
    "mayores.|Al principio basta con un poco de tiempo y de paciencia.|Muchas familias hablan de ello durante la "
    "cena.|{Topic} hace la vida un poco m\u00e1s bonita.|Un buen libro ayuda en los primeros intentos.",
    "it": "{Topic} occupa un posto importante nella vita di molte persone.|{Topic} unisce i giovani e gli anziani.|"
    "All'inizio bastano un po' di tempo e di pazienza.|Molte famiglie ne parlano durante la cena.|"
    "{Topic} rende la vita un po' pi\u00f9 bella.|Un buon libro aiuta nei primi tentativi.",
}
