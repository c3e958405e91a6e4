"""Capitals: which are spelt (FBI), which are words (NASA), which only shout (STOP), and CamelCase.

A short list of each decides the common ones; the rest goes by length and vowels.
"""

from __future__ import annotations

import re

SAID_AS_WORDS = frozenset(
    """NASA UNESCO NATO LASER RADAR SONAR SCUBA AIDS UNICEF OPEC NAFTA ASEAN FIFA UEFA SWAT SIM PIN
    RAM ROM LAN WAN RAID JPEG GIF JSON YAML TOML COVID SARS MERS NASDAQ NIMBY YOLO FOMO WASP SEAL
    FEMA HUD LEGO IKEA OPPO VIVO ASUS ACER SONY NOKIA AMTRAK EPCOT BASIC COBOL FORTRAN PASCAL LISP
    NUMA CUDA AMOLED OLED CAPTCHA NAND DRAM SCADA SIRI LIDAR PEMEX POTUS SCOTUS FLOTUS NIKE ZARA
    SAT GAAP CAD BRICS NAACP APEC MOMA SAAS ISIS TED TEDX IELTS TOEFL TOEIC GMAT EVA WIFI UNIX LINUX
    TESLA NINTENDO SAMSUNG ETA PISA ERASMUS CERN INTERPOL ACID GUI UEFI BIOS ARM MIDI SAP LUT""".split()
) - {"NAACP", "ETA"}  # fmt: skip
SPELT = frozenset(
    """US IT WHO AM PM OK TV ID PC AI UK EU UN LA DC CEO CFO CTO COO USA DIY FAQ ASAP RIP EKG IOU UAE
    UFO VIP IQ EQ PE PR HR OS UI UX API CIA FBI NSA IRS IPO GDP CPI ETF ATM ESPN HBO MIT UCLA USC
    IBM AMD AOL BBC CNN ABC NBC CBS AP EPA FDA CDC NIH IEEE ISO AC DNA RNA AR VR XR ER ICU IV OMG LOL IDE IP
    IDF USB URL ISP IRA IOS ADHD AAA AA EV EVS OCR OTP ADA AKA DOI DOA EOD ETA FIY FYI IMO IMHO INC OBE
    SUV SOS UPS WWE WWF YMCA LED LCD CAT NAACP ASR TTS AWS ECG EEG OA AQI PS BA MA MBA EMBA POS POI
    EMS EXE ELO IPA IELTS IE UTC EST EDT AFK ARPG RPG MOBA FPS ICBM ADR DOS SUN MON TUE WED THU FRI
    OP ED ART""".split()
) - {"IELTS", "SUN", "MON", "TUE", "WED", "THU", "FRI", "ART", "CAT", "INC", "DOS", "ED"}  # fmt: skip
COMMON = frozenset(
    """A ABOUT ABOVE ABUSE ACT ADD AFTER AGAIN AGE AGO AIR ALARM ALERT ALIVE ALL ALLOW ALONE ALSO AMAZE
    AN AND ANGRY ANY APPLE APPLY APRIL ARE AREA ARMY ART AS ASK AT AWAY AWFUL BABY BACK BAD BAG BALL
    BAN BANK BASE BE BEACH BEAR BEAT BED BEEN BEER BEGIN BEST BET BIG BIKE BILL BIRD BLACK BLOCK BLOOD
    BLUE BOARD BOAT BODY BOMB BOOK BOOM BORN BOSS BOTH BOX BOY BRAIN BRAND BREAD BREAK BRING BROWN
    BUILD BUS BUSY BUT BUY BY BYE CAKE CALL CALM CAME CAN CAR CARD CARE CASE CASH CAT CAUSE CHECK
    CHEAP CHIEF CHILD CITY CLASS CLEAN CLEAR CLICK CLOCK CLOSE CLUB COAT COFFEE COLD COME COOL COPY COST
    COULD COURT COVER CRAZY CRIME CROSS CROWD CRY CUP CUT DAD DAILY DANCE DARK DATA DATE DAY DEAD DEAL
    DEAR DEATH DEEP DELAY DENY DID DIE DO DOES DOG DONE DOOR DOWN DRAW DREAM DRESS DRINK DRIVE DROP
    DRUG DRY DUE DUST DUTY EACH EARLY EARN EARTH EAST EASY EAT EDGE EGG EIGHT ELSE EMPTY END ENEMY
    ENJOY ENTER ENTRY EPIC EQUAL ERROR EVEN EVENT EVER EVERY EVIL EXACT EXIT EXTRA EYE FACE FACT FAIL
    FAIR FAKE FALL FALSE FAR FAST FAT FATAL FEAR FEE FEEL FEET FEW FIELD FIFTH FIGHT FILE FILL FILM
    FINAL FIND FINE FIRE FIRST FISH FIT FIVE FIX FLAT FLOOD FLOOR FLY FOLK FOOD FOOT FOR FORCE FORM
    FOUND FOUR FREE FRESH FROM FRONT FRUIT FUEL FULL FUN FUND FUNNY GAIN GAME GATE GAVE GET GIFT GIRL
    GIVE GLAD GLASS GO GOAL GOD GOES GOING GOLD GONE GOOD GOT GRAND GREAT GREEN GROUP GROW GUARD GUESS
    GUEST GUIDE GUN GUY HAD HAIR HALF HALL HAND HAPPY HARD HAS HATE HAVE HE HEAD HEAR HEART HEAVY HELL
    HELLO HELP HER HERE HERO HEY HI HIDE HIGH HILL HIM HIS HIT HOLD HOLE HOLY HOME HOPE HORSE HOT
    HOTEL HOUR HOUSE HOW HUGE HUMAN HURRY HURT I IDEA IF ILL IN INFO INTO IS ISSUE ITEM ITS JAIL JOB
    JOIN JOKE JUDGE JULY JUMP JUNE JUST KEEP KEPT KEY KICK KID KILL KIND KING KISS KNEE KNEW KNIFE
    KNOCK KNOW LABEL LADY LAKE LAND LARGE LAST LATE LATER LAUGH LAW LAZY LEAD LEARN LEAST LEAVE LEFT
    LEG LESS LET LEVEL LIE LIFE LIFT LIGHT LIKE LIMIT LINE LINK LIST LIVE LOAD LOCAL LOCK LONG LOOK
    LOSE LOSS LOST LOT LOUD LOVE LOW LUCK LUCKY LUNCH MAD MADE MAGIC MAIL MAIN MAJOR MAKE MALE MAN
    MANY MAP MARCH MARK MATCH MAY MAYBE ME MEAL MEAN MEAT MEDIA MEET MEN MENU MESS METAL MILE MILK
    MIND MINE MINOR MISS MIX MODE MODEL MOM MONEY MONTH MOON MORE MOST MOUTH MOVE MOVIE MUCH MUM MUSIC
    MUST MY NAME NEAR NEED NEVER NEW NEWS NEXT NICE NIGHT NINE NO NOISE NONE NOON NOR NORTH NOSE NOT
    NOTE NOW NURSE OCEAN OF OFF OFFER OFTEN OH OIL OLD ON ONCE ONE ONLY OPEN OR ORDER OTHER OUR OUT
    OVER OWN PACK PAGE PAID PAIN PAPER PARK PART PARTY PASS PAST PATH PAY PEACE PEN PHONE PHOTO PICK
    PIECE PLACE PLAN PLANE PLANT PLAY PLUS POINT POOL POOR PORT POST POWER PRESS PRICE PRIDE PRINT
    PRIZE PROOF PROUD PULL PURE PUSH PUT QUEEN QUICK QUIET QUIT QUITE RACE RADIO RAIN RAISE RARE RATE
    READ READY REAL RED REST RICH RIDE RIGHT RING RISE RISK RIVER ROAD ROCK ROLE ROOM ROSE ROUND ROW
    ROYAL RULE RUN RUSH SAD SAFE SAID SALE SALT SAME SAND SAVE SAW SAY SCENE SCORE SEA SEAT SECT SEE
    SEEN SELF SELL SEND SENT SET SEVEN SEX SHALL SHAME SHARE SHE SHIP SHIRT SHOCK SHOE SHOP SHORT SHOT
    SHOUT SHOW SHUT SICK SIDE SIGN SIR SIT SIX SIZE SKIN SKY SLEEP SLOW SMALL SMART SMILE SMOKE SNOW
    SO SOFT SOLD SOME SON SONG SOON SORRY SORT SOUL SOUND SOUTH SPACE SPEAK SPEED SPEND SPORT STAFF
    STAGE STAND STAR START STATE STAY STEAL STEEL STEP STILL STOCK STONE STOP STORE STORM STORY STUDY
    STUFF SUCH SUGAR SUN SUPER SURE SWEET TABLE TAKE TALK TALL TASTE TAX TEA TEACH TEAM TELL TEN TERM
    TEST TEXT THAN THANK THAT THE THEIR THEM THEN THERE THESE THEY THICK THIN THING THINK THIRD THIS
    THOSE THREE THROW TIME TINY TIP TIRED TITLE TO TODAY TOE TOLD TOO TOOK TOP TOTAL TOUCH TOUGH TOUR
    TOWN TRACK TRADE TRAIN TREE TRIAL TRIP TRUCK TRUE TRUST TRUTH TRY TURN TWICE TWO TYPE UGLY UNDER
    UNION UNTIL UP UPON URGE USE USED USER USUAL VALUE VERY VIDEO VIEW VISIT VOICE VOTE WAIT WAKE WALK
    WALL WANT WAR WARM WARN WAS WASH WASTE WATCH WATER WAY WE WEAK WEAR WEEK WELL WENT WERE WEST WET
    WHAT WHEN WHERE WHICH WHILE WHITE WHOLE WHOSE WHY WIDE WIFE WILD WILL WIN WIND WINE WINNER WISH
    WITH WOMAN WOMEN WON WOOD WORD WORK WORLD WORRY WORSE WORST WORTH WOULD WOW WRITE WRONG YEAH YEAR
    YES YET YOU YOUNG YOUR YOUTH ZERO ZONE TIPS LOGIN LOGO DEMO BONUS BINGO CHINA JAPAN INDIA PARIS""".split()
)  # fmt: skip
WHOLE = {
    "iphone": "iphone", "ipad": "ipad", "ipod": "ipod", "youtube": "youtube", "github": "github",
    "wifi": "wifi", "ebay": "ebay", "linkedin": "linked in", "phd": "PHD", "latex": "latex",
    "mrna": "MRNA", "ph": "PH", "ios": "IOS", "macos": "mac OS", "mcdonald": "mcdonald",
    "iot": "IOT", "nodejs": "node JS", "wechat": "we chat", "icloud": "i cloud", "imac": "i mac",
    "kwh": "kilowatt hours", "xbox": "x box", "covid": "covid", "saas": "sass", "nginx": "engine X",
    "mysql": "my SQL", "nosql": "no SQL", "postgresql": "postgres QL", "leqvio": "leqvio",
}  # fmt: skip
INTERJECTIONS = frozenset("hmm hm mm mmm shh sh psst pst brr tsk pfft grr nth zzz ssh".split())
_VOWEL = re.compile("[AEIOUYaeiouy]")
_PARTS = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_HARD_ONSET = re.compile(r"^(?:[BCDFGHJKLMNPQRSTVWXZ]{3}(?<!SCH)(?<!STR)(?<!SHR)(?<!SPR)(?<!SCR)(?<!THR)"
                         r"(?<!SPL)(?<!CHR)(?<!PHR))")  # fmt: skip


def is_spelt(capitals: str, *, shouted: bool = False) -> bool:
    """Whether a word in capitals is spelt letter by letter; `shouted`: its neighbours are too."""
    if capitals in SAID_AS_WORDS:
        return False
    if not _VOWEL.search(capitals) or _HARD_ONSET.match(capitals):
        return True
    if capitals in SPELT:
        return not (shouted and capitals in {"US", "IT", "WHO", "AM", "OK", "LED", "AC"})
    if capitals in COMMON or len(capitals) > 5:
        return False
    return len(capitals) == 1 or not shouted or len(capitals) <= 2


def read_letters(word: str, *, in_code: bool = False, shouted: bool = False) -> str:
    """The reading of one run of Latin letters: acronym, CamelCase or plain word.

    in_code: letters of a model number, where short groups are spelt (CA1234, GPT-4).
    """
    whole = WHOLE.get(word.lower()) if not word.islower() or word in ("wifi", "mrna") else None
    if whole is not None:
        return whole
    if word.isupper():
        if in_code and len(word) <= 2:
            return word
        return word if is_spelt(word, shouted=shouted) else word.lower()
    if word.islower():
        return _read_lower(word, in_code=in_code)
    if word[1:].islower() or (word.startswith("Mc") and word[2:].istitle()):
        is_title_abbreviation = not _VOWEL.search(word) and word.lower() not in INTERJECTIONS
        return word.upper() if is_title_abbreviation and not in_code else _keep(word)
    return " ".join(_read_part(part) for part in _PARTS.findall(word))


def _keep(word: str) -> str:
    return word[0] + word[1:].lower()


def _read_lower(word: str, *, in_code: bool) -> str:
    is_short_code = in_code and len(word) <= 2
    if len(word) > 1 and word not in INTERJECTIONS and (not _VOWEL.search(word) or is_short_code):
        return word.upper()
    return word.upper() if in_code and len(word) == 1 else word


def _read_part(part: str) -> str:
    if len(part) == 1:
        return part.upper()
    if part.isupper():
        return part if is_spelt(part) else part.lower()
    return part if part.islower() and _VOWEL.search(part) else _read_lower_or_title(part)


def _read_lower_or_title(part: str) -> str:
    return part if _VOWEL.search(part) else part.upper()
