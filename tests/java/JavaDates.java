import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeParseException;
import java.time.temporal.TemporalAccessor;
import java.time.temporal.TemporalQueries;
import java.util.List;
import java.util.Locale;
import java.util.Random;

/** What Java reads: pattern, text and the moment in UTC (or -), as tests/unit/java_dates.tsv has it. */
public class JavaDates {
    static final List<String> PATTERNS = List.of(
        "yyyy-MM-dd", "dd.MM.yyyy", "d/M/yy", "d.M.yyyy H:m:s", "MM/dd/yyyy hh:mm:ss a", "M/d/yyyy h:mm a",
        "yyyyMMdd", "yyyyMMddHHmmss", "yyyyMMddHHmmssSSS", "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        "yyyy-MM-dd'T'HH:mm:ssX", "yyyy-MM-dd'T'HH:mm:ssXX", "yyyy-MM-dd'T'HH:mm:ssxxx",
        "yyyy-MM-dd'T'HH:mm:ss.SSSZ", "yyyy-MM-dd HH:mm:ss.SSSSSS", "yyyy-MM-dd HH:mm:ss.SSSSSSSSS",
        "yyyy-MM-dd[ HH:mm[:ss[.SSS]]]", "yyyy-MM-dd[' 'HH:mm][XXX]", "dd MMM yyyy", "dd-MMM-yy", "MMMM d, yyyy",
        "EEE, d MMM yyyy HH:mm:ss Z", "EEEE d MMMM uuuu", "EEE MMM dd HH:mm:ss zzz yyyy",
        "yyyy-MM-dd HH:mm:ss VV", "yyyy-DDD", "yyyyDDD", "yyyy-MM-dd kk:mm", "d MMM yyyy 'o''clock' H",
        "dd/LL/uuuu HH:mm");
    static final List<String> ZONES = List.of("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata");

    public static void main(String[] arguments) {
        Random random = new Random(20240229);
        for (String pattern : PATTERNS) {
            DateTimeFormatter formatter = DateTimeFormatter.ofPattern(pattern, Locale.US);
            for (int n = 0; n < 8; n++) {
                String text = formatter.format(moment(random));
                say(formatter, pattern, text);
                for (int m = 0; m < 3; m++) say(formatter, pattern, changed(random, text));
            }
        }
    }

    static ZonedDateTime moment(Random random) {
        long first = LocalDate.of(1970, 1, 2).toEpochDay(), last = LocalDate.of(2068, 12, 30).toEpochDay();
        LocalDate day = LocalDate.ofEpochDay(first + random.nextInt((int) (last - first)));
        LocalTime time = LocalTime.ofNanoOfDay(random.nextInt(86_400_000) * 1_000_000L);
        return ZonedDateTime.of(day, time, ZoneId.of(ZONES.get(random.nextInt(ZONES.size()))));
    }

    /** One character gone, doubled or another one: mostly no date any more. */
    static String changed(Random random, String text) {
        int at = random.nextInt(text.length());
        String head = text.substring(0, at), rest = text.substring(at + 1);
        char here = text.charAt(at);
        return switch (random.nextInt(3)) {
            case 0 -> head + rest;
            case 1 -> head + here + here + rest;
            default -> head + (Character.isDigit(here) ? (char) ('0' + random.nextInt(10)) : 'x') + rest;
        };
    }

    static void say(DateTimeFormatter formatter, String pattern, String text) {
        System.out.println(pattern + "\t" + text + "\t" + read(formatter, text));
    }

    static String read(DateTimeFormatter formatter, String text) {
        try {
            TemporalAccessor parsed = formatter.parse(text);
            LocalDate day = parsed.query(TemporalQueries.localDate());
            LocalTime time = parsed.query(TemporalQueries.localTime());
            ZoneId zone = parsed.query(TemporalQueries.zone());
            if (day == null) return "-";
            LocalDateTime wall = LocalDateTime.of(day, time == null ? LocalTime.MIDNIGHT : time);
            ZonedDateTime there = ZonedDateTime.of(wall, zone == null ? ZoneOffset.UTC : zone);
            return there.withZoneSameInstant(ZoneOffset.UTC).toLocalDateTime().toString();
        } catch (DateTimeParseException error) {
            return "-";
        }
    }
}
